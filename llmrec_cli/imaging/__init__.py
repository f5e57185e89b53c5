"""Images of items: generators and image files."""
