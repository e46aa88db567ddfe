//! Clients of exec, attach and port-forward that reset, flood or never read.
