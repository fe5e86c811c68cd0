"""What the shipped lessons add to their comparisons: measures and figures."""
