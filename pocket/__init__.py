"""How the pocket model is made: its language, its training, its measurement. Not part of the installed package."""
