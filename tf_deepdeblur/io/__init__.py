"""All file formats: pixels in numbers, photographs, 16-bit files, videos, atomic writing."""
