//! What a container or a user of the host can do to the files that Corten keeps for pods.
