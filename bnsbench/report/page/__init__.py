"""Results as one HTML file that asks nobody for anything: tables, figures, samples, and where they come from."""
