"""The bundle on a laptop: environments, the local AWS engine, deployment, and the demo. No account, no Docker."""
