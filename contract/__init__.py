"""The words that every room shares: conditions, schedule, bundle, dataset. Numpy and the standard library only."""
