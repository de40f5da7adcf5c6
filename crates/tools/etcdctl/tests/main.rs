//! The program against real servers, and beside real etcdctls, in one binary because linking is dear.

mod beyond;
mod cluster;
mod docs;
mod golden;
mod mask;
mod play;
mod secure;
