"""An Optuna search: its space, its study, the search itself and its winner."""
