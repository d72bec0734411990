"""Makes every call, every await and every callback fail in turn, and judges what is left."""
