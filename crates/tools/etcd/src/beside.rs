//! What runs beside members under the same name: `etcd gateway` and `etcd grpc-proxy`.

use std::io::Write;
use std::process::ExitCode;

use logging::{Level, Logger, fatal, info};
use proxy::{Asked, Gateway, GatewayError, GatewayOptions, GrpcProxy, GrpcProxyOptions};

use crate::notify;
use crate::refuse::{say_running, to_standard_error};
use crate::run::end_at_a_panic;
use crate::signals::{Door, Ending};

/// Does what a command line about a proxy asks for.
pub fn run(asked: Asked, words: &[String]) -> ExitCode {
    match asked {
        Asked::Say { stdout, stderr, code } => {
            say(&stdout, &stderr);
            ExitCode::from(code)
        }
        Asked::Gateway(options) => gateway(&options, words),
        Asked::GrpcProxy(options) => grpc_proxy(&options, words),
    }
}

/// Nobody to tell if nobody reads it.
fn say(stdout: &str, stderr: &str) {
    let _ = std::io::stdout().write_all(stdout.as_bytes());
    let _ = std::io::stderr().write_all(stderr.as_bytes());
}

/// Hears signals, which end a proxy at once until it serves.
fn hear_signals(log: &Logger) -> Option<Door> {
    match Door::open(log) {
        Ok(door) => Some(door),
        Err(fault) => {
            fatal!(log, "signals cannot be heard", "error" => go::io_text(&fault));
            None
        }
    }
}

fn gateway(options: &GatewayOptions, words: &[String]) -> ExitCode {
    let log = to_standard_error();
    end_at_a_panic(&log);
    say_running(&log, words);
    // Whatever it carries goes on elsewhere when it is started again: there is nothing to end in order.
    let Some(_door) = hear_signals(&log) else { return ExitCode::FAILURE };
    let gateway = match Gateway::open(options, &log) {
        Ok(gateway) => gateway,
        Err(GatewayError::Stdout(why)) => {
            say(&why, "");
            return ExitCode::FAILURE;
        }
        Err(GatewayError::Stderr(why)) => {
            say("", &why);
            return ExitCode::FAILURE;
        }
    };
    notify::ready(&log);
    let Err(fault) = gateway.serve() else { return ExitCode::SUCCESS };
    say("", &format!("{}\n", go::io_text(&fault)));
    ExitCode::FAILURE
}

fn grpc_proxy(options: &GrpcProxyOptions, words: &[String]) -> ExitCode {
    let log = to_standard_error();
    if options.debug {
        log.set_level(Level::Debug);
    }
    end_at_a_panic(&log);
    say_running(&log, words);
    let Some(door) = hear_signals(&log) else { return ExitCode::FAILURE };
    let proxy = match GrpcProxy::start(options, &log) {
        Ok(proxy) => proxy,
        Err(why) => {
            say("", &format!("{why}\n"));
            return ExitCode::FAILURE;
        }
    };
    let asked = door.serve();
    notify::ready(&log);
    let ending = asked.recv();
    info!(log, "stop listening gRPC proxy client requests", "address" => &options.listen);
    proxy.stop();
    match ending {
        Ok(Ending::Asked(signal)) => signal.die(),
        Ok(Ending::Removed) | Err(_) => ExitCode::SUCCESS,
    }
}
