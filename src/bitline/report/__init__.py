"""Tables, pictures and traces of a compiled network: values in, text out. Nothing here decides anything."""
