"""From a folder of files to memory-mapped samples: select frames, crop, decode in parallel, keep what is done."""
