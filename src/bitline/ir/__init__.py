"""The nouns of the compiler: frozen data that stages hand to one another. No algorithms live here."""
