"""ComfyUI nodes for tables that bnsbench has trained: put this folder into ``custom_nodes``."""

from .nodes import BNSInfo, BNSTable

NODE_CLASS_MAPPINGS = {"BNSTable": BNSTable, "BNSInfo": BNSInfo}
NODE_DISPLAY_NAME_MAPPINGS = {"BNSTable": "BNS table", "BNSInfo": "BNS info"}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
