"""A program that tries everything the sandbox forbids, and reports which attempts succeeded.

It uses Python's own functions and, past them, raw system calls. In the sandbox every attempt must
fail. Without a sandbox every attempt must succeed: an attempt that never works would prove nothing.
"""

__all__ = ["ATTACKS"]

ATTACKS = r"""
import ctypes, fcntl, os, resource, signal, socket, subprocess, sys, threading

libc = ctypes.CDLL(None, use_errno=True)
LONG = ctypes.c_long
ARCHITECTURE = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
SOCKET, CONNECT, KILL, PRLIMIT, CLONE, MEMFD, PTRACE, READV, CHMOD, TRUNCATE, KEYS, WAIT = (
    (41, 42, 62, 302, 56, 319, 101, 310, 268, 76, 250, 61),
    (198, 203, 129, 261, 220, 279, 117, 270, 53, 45, 219, 260),
)[ARCHITECTURE]


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


def set_pipe_owner():
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, os.getppid())


def write_to_tmp():
    path = f"/tmp/stepmark-{os.getpid()}"
    open(path, "w").close()
    os.remove(path)


def set_limits():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))


def outlive_parent():
    if libc.prctl(1, 0, 0, 0, 0):
        raise OSError


def in_a_thread(attempt):
    results = []
    def run():
        try:
            results.append(attempt())
        except OSError:
            pass
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not results:
        raise OSError


def attacks(secret, folder, port):
    new = os.path.join(folder, "new")
    return {
        "reads a file": lambda: open(secret).read(),
        "reads passwords": lambda: open("/etc/passwd").read(),
        "reads a file in a thread": lambda: in_a_thread(lambda: open(secret).read()),
        "lists a folder": lambda: os.listdir(folder),
        "reads its parent": lambda: open(f"/proc/{os.getppid()}/environ").read(),
        "reads its own memory": lambda: open("/proc/self/mem", "rb").close(),
        "writes a file": lambda: open(new, "w").write("x"),
        "writes to /tmp": write_to_tmp,
        "makes a folder": lambda: (os.mkdir(new + "d"), os.rmdir(new + "d")),
        "links to a file": lambda: (os.symlink(secret, new + "l"), os.unlink(new + "l")),
        "changes a mode": lambda: os.chmod(secret, 0o600),
        "changes a mode past Python": lambda: raw(CHMOD, -100, secret.encode(), 0o600),
        "changes a time": lambda: os.utime(secret),
        "truncates": lambda: raw(TRUNCATE, new.encode(), 0),
        "renames": lambda: os.rename(new, new + "r"),
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
        "has its parent signalled": set_pipe_owner,
        "asks for its parent's limits": lambda: raw(PRLIMIT, os.getppid(), 7, 0, 0),
        "sets its limits": set_limits,
        "outlives its parent": outlive_parent,
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
