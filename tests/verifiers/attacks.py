"""A program that tries what a program must not do, by Python's own ways and past them, and says what it could do.

It runs in the sandbox, where all must fail, and without one, where all must work: an attack that cannot work anywhere shows nothing.
"""

__all__ = ["ATTACKS"]

ATTACKS = r"""
import ctypes, fcntl, os, resource, signal, socket, subprocess, sys, threading

libc = ctypes.CDLL(None, use_errno=True)
LONG = ctypes.c_long
NUMBERS = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
SOCKET, CONNECT, KILL, PRLIMIT, CLONE, MEMFD, PTRACE, READV, CHMOD, TRUNCATE, KEYS, WAIT = (
    (41, 42, 62, 302, 56, 319, 101, 310, 268, 76, 250, 61),
    (198, 203, 129, 261, 220, 279, 117, 270, 53, 45, 219, 260),
)[NUMBERS]


def raw(number, *arguments):
    result = libc.syscall(LONG(number), *(LONG(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def fork():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def fork_past_python():
    child = raw(CLONE, signal.SIGCHLD, 0, 0, 0, 0)
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def daemon():
    if os.fork() == 0:
        os.setsid()
        os._exit(0)
    os.wait()


def own_it():
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, os.getppid())


def in_a_thread(deed):
    said = []
    def run():
        try:
            said.append(deed())
        except OSError:
            pass
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not said:
        raise OSError


def attacks(secret, folder, port):
    past = os.path.join(folder, "past")
    return {
        "reads a file": lambda: open(secret).read(),
        "reads passwords": lambda: open("/etc/passwd").read(),
        "reads a file in a thread": lambda: in_a_thread(lambda: open(secret).read()),
        "lists a folder": lambda: os.listdir(folder),
        "reads its parent": lambda: open(f"/proc/{os.getppid()}/environ").read(),
        "reads its own memory": lambda: open("/proc/self/mem", "rb").close(),
        "writes a file": lambda: open(past, "w").write("x"),
        "writes to /tmp": lambda: os.remove(f.name) if (f := open(f"/tmp/stepmark-{os.getpid()}", "w")) else None,
        "makes a folder": lambda: os.rmdir(past + "d") if os.mkdir(past + "d") is None else None,
        "links to a file": lambda: os.unlink(past + "l") if os.symlink(secret, past + "l") is None else None,
        "changes a mode": lambda: os.chmod(secret, 0o600),
        "changes a mode past Python": lambda: raw(CHMOD, -100, secret.encode(), 0o600),
        "changes a time": lambda: os.utime(secret),
        "truncates": lambda: raw(TRUNCATE, past.encode(), 0),
        "renames": lambda: os.rename(past, past + "r"),
        "forks": fork,
        "forks past Python": fork_past_python,
        "leaves a daemon": daemon,
        "starts a program": lambda: subprocess.run(["/bin/true"], check=True),
        "opens a socket": lambda: socket.socket().close(),
        "opens a socket past Python": lambda: os.close(raw(SOCKET, 2, 1, 0)),
        "opens a local socket": lambda: socket.socketpair()[0].close(),
        "connects": lambda: socket.create_connection(("127.0.0.1", port), timeout=5).close(),
        "signals its parent": lambda: os.kill(os.getppid(), 0),
        "signals past Python": lambda: raw(KILL, os.getppid(), 0),
        "has its parent signalled": own_it,
        "asks for its parent's limits": lambda: raw(PRLIMIT, os.getppid(), 7, 0, 0),
        "sets its limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, resource.getrlimit(resource.RLIMIT_NOFILE)[1])),
        "outlives its parent": lambda: libc.prctl(1, 0, 0, 0, 0) and (_ for _ in ()).throw(OSError()),
        "has a file in memory": lambda: os.close(raw(MEMFD, b"x", 0)),
        "reads memory of others": lambda: raw(READV, os.getppid(), 0, 0, 0, 0, 0),
    }


def allowed(secret, folder, port):
    worked = []
    for name, attack in attacks(secret, folder, port).items():
        try:
            attack()
            worked.append(name)
        except (OSError, PermissionError, ValueError, RuntimeError):
            pass
    return worked


def names():
    return list(attacks("/", "/", 1))
"""
