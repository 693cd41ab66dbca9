"""The denoisers of diffusers pipelines as velocity fields: one file per family of pipelines."""
