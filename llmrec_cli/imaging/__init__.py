"""Pictures of items: generators and image files."""
