"""Topics of ours that several rooms name, relative to the namespace."""

# The paths of the end effectors for RViz.
PATHS_TOPIC = "markers/eef_path"
