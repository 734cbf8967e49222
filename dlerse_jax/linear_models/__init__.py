"""Linear algebra on training users' likes: item factors and ridge regression."""
