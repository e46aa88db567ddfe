//! Why what plugins ask for cannot be brought together.

/// A reply of a plugin that cannot be honoured beside what is there already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Two plugins set the same field.
    #[error("NRI plugins {owner:?} and {plugin:?} both set {field}")]
    Conflict {
        /// Who was first.
        owner: String,
        /// Who came second.
        plugin: String,
        /// The field, with the key where it is one entry of many.
        field: String,
    },
    /// A plugin asks for an update of the very container that is being created.
    #[error("NRI plugin {plugin:?} asks for an update of container {container:?}, which is being created")]
    OwnUpdate {
        /// The plugin.
        plugin: String,
        /// The container's id.
        container: String,
    },
    /// A plugin makes a container too long for any message, so that nobody after it could be asked.
    #[error("NRI plugin {plugin:?} makes container {container:?} too long to be told of: {bytes} bytes")]
    Oversized {
        /// The plugin.
        plugin: String,
        /// The container's id.
        container: String,
        /// How long a message about it would be.
        bytes: usize,
    },
    /// A plugin evicts the very container that is being created.
    #[error("NRI plugin {plugin:?} evicts container {container:?}, which is being created")]
    OwnEviction {
        /// The plugin.
        plugin: String,
        /// The container's id.
        container: String,
    },
}
