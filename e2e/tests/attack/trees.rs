//! Trees of files that are too deep, too broad or too long to walk carelessly.
