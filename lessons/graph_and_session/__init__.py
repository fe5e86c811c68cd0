"""The lesson graph_and_session."""
