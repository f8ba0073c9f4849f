"""Blur data made from sharp high-speed footage or from photographs (section 2)."""
