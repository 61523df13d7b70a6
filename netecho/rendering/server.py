"""TEMP"""
import json
def server_report(out, err, *, json_stream, verbose):
    return R(out, json_stream)
class R:
    def __init__(self,out,js): self.out=out; self.js=js
    def listening(self, target, tls):
        ca = getattr(tls,'authority',None)
        if self.js: print(json.dumps({"event":"listening","url":str(target),"ca":ca and ca.path,"fingerprint":ca and ca.fingerprint}),file=self.out,flush=True)
        else: print(f"listening on {target}",file=self.out,flush=True)
    def event(self,name,d): print(json.dumps({"event":name,**d}),file=self.out,flush=True)
    def stopped(self,t,e): print(t,file=self.out,flush=True)
