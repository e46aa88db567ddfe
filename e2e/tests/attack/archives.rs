//! Layers that are small and cost much: in memory, in processor time, in the turns of other pulls.
