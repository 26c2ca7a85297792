"""Sources of problems, and the formats of datasets that contain problems or solutions."""
