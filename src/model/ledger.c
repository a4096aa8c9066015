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
