"""A dataset on one page: gallery, counts and figures in a single HTML file."""
