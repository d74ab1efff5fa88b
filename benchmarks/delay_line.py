"""A line with delay, a capacity and faults between clients and a server: a TCP relay.

Belongs here: when bytes pass, and what goes wrong on demand.  Does not: HTTP, datacat, starting
and ending it (see `servers`).  A program of its own, so that it shares no interpreter lock with
the client that is measured; Python 3.7 or newer, whatever the client runs on.

Its arguments are the server's host and port, the seconds of delay each way, the bits a second each
way (0: no limit) and the bytes of its buffer.  It prints its port on 127.0.0.1, obeys the commands
on its standard input, one a line, answers each with the bytes that it has delivered so far, and
ends when its standard input does:

    cut             reset all connections; what was under way is lost
    dark SECONDS    deliver nothing for so long, then everything
    lose            throw away the next bytes that come down, and reset their connection
    count           do nothing

A byte is read if the buffer has room, leaves when the line has carried those before it (all
connections share the line), and is delivered one delay later.  Any number are under way at once.
The buffer, one for each connection and direction, holds what was read and not yet delivered.
"""

import asyncio
import collections
import json
import socket
import struct
import sys

# What goes over the line at once, so that a slow one delivers little by little.
PACKET = 1400
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class AnswerLost(Exception):
    """This connection is to be reset, because an answer was to be lost."""


class Way:
    """One direction of the line, which all connections share.

    :param bits: what it carries in a second, 0 for any number.
    """

    def __init__(self, bits):
        self.bits = bits
        self.delivered = 0
        self._free_at = 0.0

    def leaves(self, size, now):
        """Return when so many bytes have left, which were read at `now`."""
        if not self.bits:
            return now
        self._free_at = max(now, self._free_at) + 8.0 * size / self.bits
        return self._free_at


class Line:
    """A delay line to one server.

    :param address: the server's (host, port).
    :param delay: seconds each way.
    :param bits: bits a second each way, 0 for any number.
    :param buffer: bytes that were read and not delivered, for each connection and direction.
    """

    def __init__(self, address, delay, bits, buffer):
        self.address, self.delay, self.buffer = address, delay, buffer
        self.up, self.down = Way(bits), Way(bits)
        self._dark_until = 0.0
        self._to_lose = 0
        self._connections = set()

    async def accept(self, listener):
        """Carry each connection to the server, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            task = loop.create_task(carry(self, client))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    def cut(self):
        """Reset all connections."""
        for task in list(self._connections):
            task.cancel()

    def go_dark(self, seconds):
        """Deliver nothing for so long."""
        self._dark_until = asyncio.get_running_loop().time() + seconds

    def lose(self):
        """Lose one more answer."""
        self._to_lose += 1

    def check_loss(self, way):
        """Raise AnswerLost if what is about to be delivered is to be lost."""
        if way is self.down and self._to_lose:
            self._to_lose -= 1
            raise AnswerLost

    async def wait_until(self, moment):
        """Wait until a moment, and longer while the line is dark."""
        loop = asyncio.get_running_loop()
        while True:
            seconds = max(moment, self._dark_until) - loop.time()
            if seconds <= 0:
                return
            await asyncio.sleep(seconds)

    async def stop(self):
        """Reset all connections and wait until they are closed."""
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)


class Pipe:
    """One direction of one connection.

    :param not_before: when its first bytes may leave, for the sake of the handshake.
    """

    def __init__(self, line, way, source, sink, not_before):
        self._line, self._way = line, way
        self._source, self._sink = source, sink
        self._not_before = not_before
        self._under_way = collections.deque()
        self._held = 0
        self._change = asyncio.Condition()

    async def read(self):
        """Read until the end, whenever the buffer has room."""
        loop = asyncio.get_running_loop()
        data = True
        while data:
            async with self._change:
                await self._change.wait_for(lambda: self._held < self._line.buffer)
            size = min(PACKET, self._line.buffer - self._held)
            try:
                data = await loop.sock_recv(self._source, size)
            except ConnectionError:
                data = b""  # a reset arrives as an end, after what was sent before it
            leaves = max(self._way.leaves(len(data), loop.time()), self._not_before)
            async with self._change:
                self._under_way.append((leaves + self._line.delay, data))
                self._held += len(data)
                self._change.notify_all()

    async def deliver(self):
        """Deliver what was read, until the end."""
        while True:
            async with self._change:
                await self._change.wait_for(lambda: self._under_way)
            arrives, data = self._under_way.popleft()
            await self._line.wait_until(arrives)
            if not data:
                break
            self._line.check_loss(self._way)
            await self._write(data)
            async with self._change:
                self._held -= len(data)
                self._change.notify_all()
        await self._write(None)

    async def _write(self, data):
        try:
            if data is None:
                self._sink.shutdown(socket.SHUT_WR)
            else:
                await asyncio.get_running_loop().sock_sendall(self._sink, data)
                self._way.delivered += len(data)
        except OSError:
            pass  # the receiver is gone; what the other direction carries still arrives


async def carry(line, client):
    """Carry one connection until both ends have ended it; if cancelled, reset it."""
    loop = asyncio.get_running_loop()
    server, steps = socket.socket(), []
    is_reset = True
    try:
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Loopback shakes hands at once; over the line that takes a round trip.
        ready = loop.time() + 2 * line.delay
        await loop.sock_connect(server, line.address)
        up = Pipe(line, line.up, client, server, ready)
        down = Pipe(line, line.down, server, client, ready)
        for pipe in (up, down):
            steps += [loop.create_task(pipe.read()), loop.create_task(pipe.deliver())]
        await asyncio.gather(*steps)
        is_reset = False
    except (AnswerLost, OSError):
        pass
    finally:
        await _close(steps, (client, server), is_reset)


async def _close(steps, ends, is_reset):
    for step in steps:
        step.cancel()
    # Or the loop would still watch a closed descriptor.
    await asyncio.gather(*steps, return_exceptions=True)
    for end in ends:
        if is_reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        end.close()


def obey(line, command, *arguments):
    """Carry out one command."""
    if command == "cut":
        line.cut()
    elif command == "dark":
        line.go_dark(float(arguments[0]))
    elif command == "lose":
        line.lose()
    elif command != "count":
        raise ValueError("no such command: %s" % command)


async def main(host, port, delay, bits, buffer):
    """Serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    line = Line((socket.gethostbyname(host), int(port)), float(delay), int(bits), int(buffer))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        accepting = loop.create_task(line.accept(listener))
        print(listener.getsockname()[1], flush=True)
        while True:
            command = await loop.run_in_executor(None, sys.stdin.readline)
            if not command:
                break
            obey(line, *command.split())
            counts = {"up": line.up.delivered, "down": line.down.delivered}
            print(json.dumps(counts), flush=True)
        accepting.cancel()
        await line.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
