"""The only definition of arithmetic: rounding, saturation, requantisation, arrays and converters, tables."""
