"""Counts what goes over the wire: a TCP proxy between a client and the hub."""

import asyncio
import threading
from typing import Self


class Meter:
    """Forwards a loopback port of its own to the hub and counts bytes in both directions."""

    def __init__(self, hub_port: int) -> None:
        self.sent_bytes = 0
        self.received_bytes = 0
        self._hub_port = hub_port
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._forward, "127.0.0.1", 0))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """Address that clients are given as `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            hub_reader, hub_writer = await asyncio.open_connection("127.0.0.1", self._hub_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._pump(reader, hub_writer, "sent_bytes"), self._pump(hub_reader, writer, "received_bytes")
        )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counter: str) -> None:
        try:
            while data := await reader.read(1 << 18):
                setattr(self, counter, getattr(self, counter) + len(data))
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
