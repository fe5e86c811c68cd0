"""The only package that talks to MLflow: store, runs, metrics, lineage and models."""
