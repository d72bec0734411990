"""Is what the pages of the site say true?"""
