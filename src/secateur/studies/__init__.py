"""From a recipe to a run graph, its execution and its store."""
