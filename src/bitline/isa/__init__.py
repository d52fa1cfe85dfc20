"""The instruction set: one table of instructions and fields, a binary form, a text form."""
