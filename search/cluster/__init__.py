"""What a search needs on a Ray cluster besides Ray: checks before it starts, code that travels, the measuring slot.

The files beside this one start clusters: `ray-cluster.yaml` (Ray's cluster launcher), `rayjob.yaml` (KubeRay) and `slurm.sh`;
docs/cluster.md explains them.
"""
