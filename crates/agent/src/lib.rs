//! The program in the pod.
