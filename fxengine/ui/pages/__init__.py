"""The pages and plots that commands write."""
