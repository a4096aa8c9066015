#include "model/ledger.h"

const char *ledger_state_text(enum ledger_state state)
{
	switch (state) {
	case LEDGER_NONE: return "none";
	case LEDGER_ALIVE: return "alive";
	case LEDGER_ZOMBIE: return "zombie";
	case LEDGER_ZOMBIE_THREADS: return "zombieThreads";
	case LEDGER_GONE: return "gone";
	}
	return "invalid";
}

const char *ledger_shim_text(enum ledger_shim_state state)
{
	switch (state) {
	case LEDGER_SHIM_NONE: return "none";
	case LEDGER_SHIM_ALIVE: return "alive";
	case LEDGER_SHIM_STOPPED: return "stopped";
	case LEDGER_SHIM_ZOMBIE: return "zombie";
	case LEDGER_SHIM_GONE: return "gone";
	}
	return "invalid";
}
