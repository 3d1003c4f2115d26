"""The engines that Wen is measured against, and how."""
