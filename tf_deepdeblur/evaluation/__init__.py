"""From benchmark folders to the tables of the paper."""
