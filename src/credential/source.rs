//! Where a key comes from: an environment variable, a file, a command.
