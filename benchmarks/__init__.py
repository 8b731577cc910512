"""What is measured and how; the last figures stand in README.md."""
