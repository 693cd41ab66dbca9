"""Leaderboards: rows from records, paired statistics, tables, pictures, comparison and verification."""
