//! Containers that rearrange cgroups, or end what supervises them.
