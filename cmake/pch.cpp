// The precompiled header that every module reuses is built with this file.
