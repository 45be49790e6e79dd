"""Whether two pictures are one: by their pixels, however it was resized, saved, cropped, mirrored, turned or marked."""
