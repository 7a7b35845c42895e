"""Everything that runs Holdfast and that nothing imports."""
