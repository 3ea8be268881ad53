"""The load bar as runnable cases: marked streams, clients that leave, overload, and dependencies that are
killed while traffic goes on."""
